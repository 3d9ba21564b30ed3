//! Commands that take turns, each as often as its weight says: the mix of a service.
//!
//! ```text
//!  --command '3 GET {key}' --command 'DEL {key}'      GET GET DEL GET, GET GET DEL GET, …
//! ```

use std::fmt;

/// The most that one command can weigh: the order of all turns is laid out in memory.
const WEIGHT_MAX: u32 = 1000;

/// One command, and how often it is sent beside the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) weight: u32,
    pub(super) words: String,
}

/// Reads `60 GET {key}`, or a command alone, which weighs 1. No command's name is a number.
pub(super) fn parse_command(text: &str) -> Result<Command, String> {
    let text = text.trim();
    let first = text.split_whitespace().next().unwrap_or_default();
    let is_weight = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    let (weight, words) = match first.parse::<u32>() {
        Ok(weight @ 1..=WEIGHT_MAX) => (weight, text[first.len()..].trim_start()),
        _ if is_weight => {
            return Err(format!("'{first}' is no weight from 1 to {WEIGHT_MAX}"));
        }
        _ => (1, text),
    };
    if words.is_empty() {
        return Err("no words; write such as 'EXPIRE {key} 60'".to_owned());
    }
    Ok(Command { weight, words: words.to_owned() })
}

/// The index of the command whose turn it is, for as many turns as the weights add up to; then from the front again.
///
/// Turns of one command are spread out, as nginx's smooth weighted round robin does it: at each turn every command's
/// current weight grows by its weight; the command that has most is sent, and loses the sum of all weights.
pub(super) fn order(commands: &[Command]) -> Vec<usize> {
    let sum: i64 = commands.iter().map(|command| i64::from(command.weight)).sum();
    let mut current_weights = vec![0; commands.len()];
    let mut turn = || {
        let mut most = 0;
        for (index, command) in commands.iter().enumerate() {
            current_weights[index] += i64::from(command.weight);
            if current_weights[index] > current_weights[most] {
                most = index;
            }
        }
        current_weights[most] -= sum;
        most
    };
    (0..sum).map(|_| turn()).collect()
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight {
            1 => write!(f, "{}", self.words),
            weight => write!(f, "{weight} {}", self.words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_front_is_a_weight() {
        let read = |text| parse_command(text).map(|command| (command.weight, command.words));
        assert_eq!(read("60 GET {key}"), Ok((60, "GET {key}".to_owned())));
        assert_eq!(read("GET 60"), Ok((1, "GET 60".to_owned())));
        assert_eq!(read("2nd"), Ok((1, "2nd".to_owned())));
        assert_eq!(parse_command(" 3  INCR n ").unwrap().to_string(), "3 INCR n");
        for (text, told) in
            [("", "no words"), ("5", "no words"), ("0 PING", "weight"), ("1001 PING", "weight")]
        {
            assert!(parse_command(text).unwrap_err().contains(told), "{text}");
        }
    }

    #[test]
    fn turns_are_as_often_as_weights_say_and_spread_out() {
        let commands = ["3 A", "B", "2 C"].map(|text| parse_command(text).unwrap());
        assert_eq!(order(&commands), [0, 2, 0, 1, 2, 0]);
        assert_eq!(order(&commands[1..2]), [0]);
    }
}
