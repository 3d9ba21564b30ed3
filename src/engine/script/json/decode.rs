//! JSON text as Lua values.

use crate::engine::script::library::Arguments;
use crate::engine::script::limits::Limits;
use mlua::{Result, Value};

/// Values between two looks at the clock.
const VALUES_BETWEEN_LOOKS: u32 = 1024;

/// What comes next in the text.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(mlua::LuaString),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Invalid(&'static str),
}

impl Token {
    /// What error texts call it.
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Invalid(text) => text,
        }
    }
}

struct Decoder<'d, 'l> {
    args: &'d Arguments<'l>,
    limits: &'d Limits,
    text: &'d [u8],
    at: usize,
    /// Where the last token began.
    token_at: usize,
    depth: usize,
    depth_max: usize,
    values: u32,
}

/// The value that a text holds.
pub(super) fn decode(args: &Arguments<'_>, text: &[u8], depth_max: usize, limits: &Limits) -> Result<Value> {
    if let [first, second, ..] = text
        && (*first == 0 || *second == 0)
    {
        return Err(args.error("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut decoder = Decoder { args, limits, text, at: 0, token_at: 0, depth: 0, depth_max, values: 0 };
    let first = decoder.next()?;
    let value = decoder.value(first)?;
    match decoder.next()? {
        Token::End => Ok(value),
        other => Err(decoder.expected("the end", &other)),
    }
}

impl Decoder<'_, '_> {
    fn expected(&self, what: &str, found: &Token) -> mlua::Error {
        let at = self.token_at + 1;
        self.args.error(&format!("Expected {what} but found {} at character {at}", found.name()))
    }

    fn value(&mut self, token: Token) -> Result<Value> {
        self.values += 1;
        if self.values.is_multiple_of(VALUES_BETWEEN_LOOKS) {
            self.limits.check_clock()?;
        }
        match token {
            Token::String(text) => Ok(Value::String(text)),
            Token::Number(number) => Ok(Value::Number(number)),
            Token::Boolean(value) => Ok(Value::Boolean(value)),
            Token::Null => Ok(Value::NULL),
            Token::ObjectBegin | Token::ArrayBegin => {
                self.depth += 1;
                if self.depth > self.depth_max {
                    let (depth, at) = (self.depth, self.at);
                    let text = format!("Found too many nested data structures ({depth}) at character {at}");
                    return Err(self.args.error(&text));
                }
                let value = if token == Token::ObjectBegin { self.object() } else { self.array() };
                self.depth -= 1;
                value
            }
            other => Err(self.expected("value", &other)),
        }
    }

    fn object(&mut self) -> Result<Value> {
        let table = self.args.lua.create_table()?;
        let mut token = self.next()?;
        if token == Token::ObjectEnd {
            return Ok(Value::Table(table));
        }
        loop {
            let Token::String(key) = token else { return Err(self.expected("object key string", &token)) };
            match self.next()? {
                Token::Colon => {}
                other => return Err(self.expected("colon", &other)),
            }
            let first = self.next()?;
            table.raw_set(key, self.value(first)?)?;
            match self.next()? {
                Token::ObjectEnd => return Ok(Value::Table(table)),
                Token::Comma => token = self.next()?,
                other => return Err(self.expected("comma or object end", &other)),
            }
        }
    }

    fn array(&mut self) -> Result<Value> {
        let table = self.args.lua.create_table()?;
        let mut token = self.next()?;
        if token == Token::ArrayEnd {
            return Ok(Value::Table(table));
        }
        for i in 1.. {
            table.raw_set(i, self.value(token)?)?;
            match self.next()? {
                Token::ArrayEnd => break,
                Token::Comma => token = self.next()?,
                other => return Err(self.expected("comma or array end", &other)),
            }
        }
        Ok(Value::Table(table))
    }

    fn next(&mut self) -> Result<Token> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.token_at = self.at;
        let rest = &self.text[self.at..];
        let Some(first) = rest.first() else { return Ok(Token::End) };
        let (token, len) = match first {
            b'{' => (Token::ObjectBegin, 1),
            b'}' => (Token::ObjectEnd, 1),
            b'[' => (Token::ArrayBegin, 1),
            b']' => (Token::ArrayEnd, 1),
            b':' => (Token::Colon, 1),
            b',' => (Token::Comma, 1),
            b'"' => return self.string(),
            b't' if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            b'f' if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            b'n' if rest.starts_with(b"null") => (Token::Null, 4),
            _ => match number(rest) {
                Some((number, len)) => (Token::Number(number), len),
                None if matches!(first, b'0'..=b'9' | b'-') => (Token::Invalid("invalid number"), 0),
                None => (Token::Invalid("invalid token"), 0),
            },
        };
        self.at += len;
        Ok(token)
    }

    /// The string whose quote is next.
    fn string(&mut self) -> Result<Token> {
        let start = self.at + 1;
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0);
        let plain_len = self.text[start..].iter().position(is_special).unwrap_or(self.text.len() - start);
        if self.text.get(start + plain_len) == Some(&b'"') {
            self.at = start + plain_len + 1;
            let text = self.args.lua.create_string(&self.text[start..start + plain_len])?;
            return Ok(Token::String(text));
        }
        let mut text = self.limits.buffer();
        let mut at = start;
        loop {
            let rest = &self.text[at..];
            let len = rest.iter().position(is_special).unwrap_or(rest.len());
            text.extend(&rest[..len])?;
            at += len;
            match self.text.get(at) {
                Some(b'"') => break,
                Some(b'\\') => match self.escape(at) {
                    Ok((bytes, len, next)) => {
                        text.extend(&bytes[..len])?;
                        at = next;
                    }
                    Err(what) => {
                        self.token_at = at;
                        return Ok(Token::Invalid(what));
                    }
                },
                _ => {
                    self.token_at = at;
                    return Ok(Token::Invalid("unexpected end of string"));
                }
            }
        }
        self.at = at + 1;
        self.args.lua.create_string(&text[..]).map(Token::String)
    }

    /// What the escape at `at` stands for, and where the text goes on.
    fn escape(&self, at: usize) -> std::result::Result<([u8; 4], usize, usize), &'static str> {
        let one = |byte: u8| Ok(([byte, 0, 0, 0], 1, at + 2));
        match self.text.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => one(*byte),
            Some(b'b') => one(8),
            Some(b't') => one(9),
            Some(b'n') => one(10),
            Some(b'f') => one(12),
            Some(b'r') => one(13),
            Some(b'u') => {
                let (character, next) = self.unicode(at + 2).ok_or("invalid unicode escape code")?;
                let mut bytes = [0; 4];
                let len = character.encode_utf8(&mut bytes).len();
                Ok((bytes, len, next))
            }
            _ => Err("invalid escape code"),
        }
    }

    /// The character of the four digits at `at`, and of a second surrogate behind them.
    fn unicode(&self, at: usize) -> Option<(char, usize)> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 4)?;
            let value = |digit: &u8| char::from(*digit).to_digit(16);
            digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + value(digit)?))
        };
        let first = unit(at)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).map(|character| (character, at + 4));
        }
        let second = unit(at + 6).filter(|_| self.text[at + 4..].starts_with(b"\\u"))?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low).map(|character| (character, at + 10))
    }
}

/// The number at the beginning of a text, as `strtod` reads it, and its length.
fn number(text: &[u8]) -> Option<(f64, usize)> {
    let sign_len = usize::from(text.first() == Some(&b'-'));
    let sign = if sign_len > 0 { -1.0 } else { 1.0 };
    let rest = &text[sign_len..];
    let starts = |word: &[u8]| rest.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    if starts(b"0x") {
        let len = rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let digits = std::str::from_utf8(&rest[2..2 + len]).ok()?;
        let value = u64::from_str_radix(digits, 16).ok()?;
        return Some((sign * value as f64, sign_len + 2 + len));
    }
    for (word, value) in [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)] {
        if starts(word) {
            return Some((sign * value, sign_len + word.len()));
        }
    }
    let digits = |from: usize| rest[from.min(rest.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    if rest.get(len) == Some(&b'.') {
        len += 1 + digits(len + 1);
    }
    if whole == 0 && len <= 1 {
        return None;
    }
    if let Some(b'e' | b'E') = rest.get(len) {
        let sign_len = usize::from(matches!(rest.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign_len);
        len += if exponent > 0 { 1 + sign_len + exponent } else { 0 };
    }
    let value: f64 = std::str::from_utf8(&rest[..len]).ok()?.parse().ok()?;
    Some((sign * value, sign_len + len))
}
