//! The libraries, where their answers do not come from a recorded transcript.

use super::{bench, error, eval};

#[test]
fn json_goes_both_ways() {
    let mut bench = bench();
    let text = r#"[1,2.5,-3e2,"a\u00e9\ud83d\ude00\n",true,false,null,{"k":[]},{}]"#;
    let script = format!("return cjson.encode(cjson.decode([==[{text}]==]))");
    assert_eq!(
        eval(&mut bench, &script),
        "$52\r\n[1,2.5,-300,\"aé😀\\n\",true,false,null,{\"k\":{}},{}]\r\n"
    );
    assert_eq!(eval(&mut bench, "return cjson.encode({[1]=1,[2]=2,[3]=3})"), "$7\r\n[1,2,3]\r\n");
    assert_eq!(eval(&mut bench, "return cjson.encode({[1]=1,[3]=3})"), "$10\r\n[1,null,3]\r\n");
    assert_eq!(eval(&mut bench, "return tostring(cjson.decode('null') == cjson.null)"), "$4\r\ntrue\r\n");
}

#[test]
fn json_writes_invalid_numbers_as_it_is_told() {
    let mut bench = bench();
    let script = "local shown = tostring(cjson.encode_invalid_numbers(%)) \
                  local ok, text = pcall(cjson.encode, {0/0, 1/0, -1/0}) return {shown, tostring(ok and text)}";
    for (setting, shown, text) in [
        ("", "false", "false"),
        ("true", "true", "[nan,inf,-inf]"),
        ("'null'", "null", "[null,null,null]"),
        // It stays until the scripts are flushed.
        ("", "null", "[null,null,null]"),
        ("'off'", "false", "false"),
    ] {
        let reply = eval(&mut bench, &script.replace('%', setting));
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        assert_eq!(reply, format!("*2\r\n{}{}", bulk(shown), bulk(text)), "{setting}");
    }
    assert!(eval(&mut bench, "return cjson.encode_invalid_numbers('maybe')").contains("invalid option"));
    assert!(eval(&mut bench, "return cjson.decode_invalid_numbers(false)").contains("cannot be turned off"));
}

#[test]
fn json_ends_deep_values_and_long_texts_with_errors() {
    let mut bench = bench();
    let deep = "local t = {} for i = 1, 2000 do t = {t} end return cjson.encode(t)";
    assert_eq!(
        error(&eval(&mut bench, deep)),
        "-ERR user_script:1: Cannot serialise, excessive depth (1001)"
    );
    let deep = "return cjson.decode(string.rep('[', 2000))";
    assert_eq!(
        error(&eval(&mut bench, deep)),
        "-ERR user_script:1: Found too many nested data structures (1001) at character 1001"
    );
    // What escaping makes of it does not fit (the overflow of CVE-2022-24834 was in that product).
    let long = "return cjson.encode(string.rep('\\1', 200000))";
    assert_eq!(error(&eval(&mut bench, long)), "-ERR not enough memory");
    let looped = "local t = {} t.t = t return cjson.encode(t)";
    assert!(eval(&mut bench, looped).contains("excessive depth"));
}

#[test]
fn message_pack_goes_both_ways() {
    let mut bench = bench();
    let script = "local t = cmsgpack.unpack(cmsgpack.pack({1, -1, 300, -300, 1e10, 0.5, 0.1, 'x', true, {k='v'}}))
        return {t[1], t[2], t[3], t[4], tostring(t[5]), tostring(t[6]), tostring(t[7]), t[8], tostring(t[9]), t[10].k}";
    assert_eq!(
        eval(&mut bench, script),
        "*10\r\n:1\r\n:-1\r\n:300\r\n:-300\r\n$11\r\n10000000000\r\n$3\r\n0.5\r\n$3\r\n0.1\r\n$1\r\nx\r\n$4\r\ntrue\r\n$1\r\nv\r\n"
    );
    for wrong in [r"\220\255", r"\221", r"\221\255\255", r"\221\219\255\255\255\255", r"\193", r"\199"] {
        let reply = eval(&mut bench, &format!("return pcall(cmsgpack.unpack, '{wrong}')"));
        assert_eq!(reply, "$-1\r\n", "{wrong}: false comes first");
    }
    let deep = "return cmsgpack.unpack(string.rep('\\145', 100000))";
    assert_eq!(error(&eval(&mut bench, deep)), "-ERR user_script:1: Bad data format in input.");
    let looped = "local t = {} t[1] = t return #cmsgpack.pack(t)";
    assert_eq!(eval(&mut bench, looped), ":17\r\n");
}

#[test]
fn formats_of_struct_are_held_to_what_is_there() {
    let mut bench = bench();
    let script = "return {struct.unpack('>I2s>lc0', struct.pack('>I2s>l', 258, 'ab', -5) .. 'x', 1)}";
    assert!(eval(&mut bench, script).starts_with('-'));
    let script =
        "local a, b, c = struct.unpack('>I2<ic3', struct.pack('>I2<ic3', 258, -5, 'abc')) return {a, b, c}";
    assert_eq!(eval(&mut bench, script), "*3\r\n:258\r\n:-5\r\n$3\r\nabc\r\n");
    for (script, text) in [
        ("struct.unpack('I33', 'x')", "integral size 33 is larger than limit of 32"),
        ("struct.unpack('I99999999999', 'x')", "integral size overflow"),
        ("struct.unpack('c2147483647', 'x')", "data string too short"),
        ("struct.unpack('c0', 'x')", "format 'c0' needs a previous size"),
        ("struct.unpack('Bc0', '\\200x')", "data string too short"),
        ("struct.unpack('b', 'x', 2147483648)", "data string too short"),
        ("struct.unpack('b', 'x', 0)", "offset must be 1 or greater"),
        ("struct.unpack('s', 'x')", "unfinished string in data"),
        ("struct.size(string.rep('c2147483647', 3))", "format too long"),
        ("struct.pack('!3i', 1)", "alignment is not a power of 2"),
        ("struct.pack('q', 1)", "invalid format option 'q'"),
        ("struct.pack('c9', 'x')", "string too short"),
        ("struct.pack('c1048576', 'x')", "string too short"),
    ] {
        let reply = eval(&mut bench, &format!("return {script}"));
        assert!(reply.contains(text), "{script}: {reply}");
    }
}

#[test]
fn bits_are_those_of_32_and_the_smallest_number_of_digits_is_no_trap() {
    let mut bench = bench();
    let script = "return {bit.bnot(0), bit.band(255, 15), bit.bor(1, 2, 4), bit.bxor(5, 1), bit.lshift(1, 31),
        bit.rshift(-1, 28), bit.arshift(-16, 2), bit.rol(1, 33), bit.ror(1, 1), bit.bswap(1), bit.tobit(4294967295)}";
    assert_eq!(
        eval(&mut bench, script),
        "*11\r\n:-1\r\n:15\r\n:7\r\n:4\r\n:-2147483648\r\n:15\r\n:-4\r\n:2\r\n:-2147483648\r\n:16777216\r\n:-1\r\n"
    );
    // CVE-2024-31449.
    let script =
        "return {bit.tohex(255, -2147483648), bit.tohex(255, 2), bit.tohex(255, -3), bit.tohex(255, 0)}";
    assert_eq!(eval(&mut bench, script), "*4\r\n$8\r\n000000FF\r\n$2\r\nff\r\n$3\r\n0FF\r\n$0\r\n\r\n");
    for odd in ["0/0", "1/0", "-1/0", "1e300"] {
        assert!(eval(&mut bench, &format!("return bit.tobit({odd})")).starts_with(':'), "{odd}");
    }
}

#[test]
fn strings_are_found_replaced_and_repeated() {
    let mut bench = bench();
    for (script, reply) in [
        ("return {string.find('a.b', '.', 1, true)}", "*2\r\n:2\r\n:2\r\n"),
        ("return {string.find('hello', 'l(l)')}", "*3\r\n:3\r\n:4\r\n$1\r\nl\r\n"),
        ("return {string.find('abc', 'b', -1)}", "*0\r\n"),
        ("return string.match('k=v', '=(.*)')", "$1\r\nv\r\n"),
        (
            "local t = {} for k, v in string.gmatch('a=1,b=2', '(%w)=(%w)') do t[#t+1] = k .. v end return t",
            "*2\r\n$2\r\na1\r\n$2\r\nb2\r\n",
        ),
        ("local n = 0 for _ in ('abc'):gmatch('') do n = n + 1 end return n", ":4\r\n"),
        ("return {string.gsub('hello', 'l', 'L')}", "*2\r\n$5\r\nheLLo\r\n:2\r\n"),
        ("return {string.gsub('hello', '(h)(e)', '%2%1%0%%')}", "*2\r\n$8\r\nehhe%llo\r\n:1\r\n"),
        ("return {string.gsub('abc', '', '-')}", "*2\r\n$7\r\n-a-b-c-\r\n:4\r\n"),
        ("return {string.gsub('abc', '%w', {a='1', b=true and 2})}", "*2\r\n$3\r\n12c\r\n:3\r\n"),
        (
            "return {string.gsub('abc', '%w', function(c) return c:upper() end, 2)}",
            "*2\r\n$3\r\nABc\r\n:2\r\n",
        ),
        ("return {string.gsub('abc', '^a', 'x')}", "*2\r\n$3\r\nxbc\r\n:1\r\n"),
        ("return string.rep('ab', 3)", "$6\r\nababab\r\n"),
        ("return string.rep('', 2147483647)", "$0\r\n\r\n"),
        ("return #string.rep('x', -1)", ":0\r\n"),
    ] {
        assert_eq!(eval(&mut bench, script), reply, "{script}");
    }
    assert_eq!(error(&eval(&mut bench, "return string.rep('xx', 1e15)")), "-ERR not enough memory");
    let grown = "return #string.gsub(string.rep('x', 1000), 'x', string.rep('y', 100000))";
    assert_eq!(error(&eval(&mut bench, grown)), "-ERR not enough memory");
    assert_eq!(eval(&mut bench, "return 1"), ":1\r\n");
}
