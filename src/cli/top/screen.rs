//! The screen: lines of text in a few styles, made from the last rates, cut to the terminal's size.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::super::output::printable;
use super::is_set;
use super::sample::{Memory, Rates};
use super::terminal::Size;

/// What a terminal can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub colours: bool,
    /// Whether its characters go beyond ASCII.
    pub unicode: bool,
}

impl Look {
    /// By NO_COLOR (no-color.org), TERM and the locale's variables.
    pub(super) fn of_environment() -> Look {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name));
        let locale =
            locale.and_then(|name| std::env::var(name).ok()).unwrap_or_default().to_ascii_lowercase();
        Look {
            colours: !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ink {
    Plain,
    Bold,
    Dim,
    Full,
    Waste,
    Alarm,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Ink::Plain => "",
            Ink::Bold => "\x1b[1m",
            Ink::Dim => "\x1b[2m",
            Ink::Full => "\x1b[36m",
            Ink::Waste => "\x1b[33m",
            Ink::Alarm => "\x1b[1;31m",
        }
    }
}

/// A line in pieces of one style each.
#[derive(Default)]
struct Line(Vec<(Ink, String)>);

impl Line {
    fn put(mut self, ink: Ink, text: impl Into<String>) -> Line {
        self.0.push((ink, text.into()));
        self
    }

    /// A name in faint letters and its value, in columns.
    fn field(self, name: &str, value: String) -> Line {
        let width = 11;
        self.put(Ink::Dim, format!("{name} ")).put(Ink::Bold, format!("{value:<width$}"))
    }

    fn render(&self, columns: usize, colours: bool, out: &mut String) {
        let mut left = columns;
        for (ink, text) in &self.0 {
            let cut: String = text.chars().take(left).collect();
            left -= cut.chars().count();
            if colours && *ink != Ink::Plain {
                let _ = write!(out, "{}{cut}\x1b[0m", ink.code());
            } else {
                out.push_str(&cut);
            }
        }
    }
}

/// What is shown.
pub(super) struct Screen {
    server: String,
    look: Look,
    pub rates: Option<Rates>,
    /// Why the server does not answer, if it does not.
    pub gone: Option<String>,
}

impl Screen {
    pub(super) fn new(server: String, look: Look) -> Screen {
        Screen { server, look, rates: None, gone: None }
    }

    /// Draws over what was there, without clearing first, so that nothing flickers.
    pub(super) fn draw(&self, size: Size, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text(size).as_bytes())?;
        out.flush()
    }

    fn text(&self, (columns, rows): Size) -> String {
        let mut text = String::from("\x1b[H");
        let lines = self.lines(columns);
        for (index, line) in lines.iter().take(rows).enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            line.render(columns, self.look.colours, &mut text);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        text
    }

    fn lines(&self, columns: usize) -> Vec<Line> {
        let title = Line::default().put(Ink::Bold, "Pannier");
        let server = printable(self.server.as_bytes());
        let Some(rates) = &self.rates else {
            let state = self.gone.clone().unwrap_or_else(|| "the first interval has begun".to_owned());
            return vec![title.put(Ink::Plain, format!(" at {server}: {state}"))];
        };
        let version = printable(rates.now.version.as_bytes());
        let up = span(rates.now.uptime_ms / 1000);
        let mut lines = vec![
            title.put(Ink::Plain, format!(" {version} at {server}, up {up}")).put(Ink::Dim, "   q quits"),
            self.notice(rates),
        ];
        lines.extend(self.figures(rates));
        lines.extend(self.memory(&rates.now.memory, columns));
        lines.push(Line::default());
        lines.extend(self.verbs(rates, columns));
        lines
    }

    /// The second line: what is out of the ordinary, or nothing.
    fn notice(&self, rates: &Rates) -> Line {
        match &self.gone {
            Some(why) => Line::default().put(Ink::Alarm, format!("{why}; trying again")),
            None if rates.restarted => Line::default().put(Ink::Alarm, "the server was restarted"),
            None => Line::default(),
        }
    }

    fn figures(&self, rates: &Rates) -> [Line; 4] {
        let latency = |index: usize| match rates.latency_us {
            Some(us) => self.time(us[index]),
            None => "-".to_owned(),
        };
        let now = &rates.now;
        let hits = rates.hit_ratio.map_or("-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
        [
            Line::default()
                .field("requests ", rate(rates.requests))
                .field("p50     ", latency(0))
                .field("p99       ", latency(1))
                .field("p99.9", latency(2)),
            Line::default()
                .field("loop busy", format!("{:.1} %", rates.busy * 100.0))
                .field("slowest ", self.time(now.slowest_turn_us as f64))
                .field("bytes in  ", flow(rates.received_bytes))
                .field("out  ", flow(rates.sent_bytes)),
            Line::default()
                .field("keys     ", count(now.keys as f64))
                .field("hits    ", hits)
                .field("evicted   ", rate(rates.evicted))
                .field("expired", rate(rates.expired)),
            Line::default()
                .field("clients  ", format!("{}/{}", now.clients, count(now.clients_max as f64)))
                .field("errors  ", rate(rates.errors))
                .field("bad frames", rate(rates.bad_frames))
                .field("refused", rate(rates.connections_rejected)),
        ]
    }

    fn memory(&self, memory: &Memory, columns: usize) -> [Line; 4] {
        let (used, waste) = (memory.share(memory.used()), memory.share(memory.to_clean));
        let summary = format!(
            " {:.0} % of {}; resident {}, limit {}",
            used * 100.0,
            bytes(memory.store_limit as f64),
            bytes(memory.resident as f64),
            bytes(memory.limit as f64)
        );
        let width = columns.saturating_sub(10 + summary.chars().count()).clamp(8, 60);
        let full = (used * width as f64).ceil().min(width as f64) as usize;
        let dead = ((waste * width as f64).round() as usize).min(width - full);
        let [full_cell, dead_cell, free_cell] =
            if self.look.unicode { ["█", "▒", "·"] } else { ["#", ":", "."] };
        let ink = if used > 0.9 { Ink::Alarm } else { Ink::Full };
        let parts = |parts: [(&str, u64); 3]| {
            parts.into_iter().fold(Line::default().put(Ink::Plain, " ".repeat(10)), |line, (name, part)| {
                line.field(&format!("{name:<8}"), bytes(part as f64))
            })
        };
        let bar = Line::default()
            .put(Ink::Dim, "memory    ")
            .put(ink, full_cell.repeat(full))
            .put(Ink::Waste, dead_cell.repeat(dead))
            .put(Ink::Dim, free_cell.repeat(width - full - dead))
            .put(Ink::Plain, summary);
        [
            Line::default(),
            bar,
            parts([("records", memory.records), ("large", memory.large), ("index", memory.index)]),
            parts([("tables", memory.tables), ("buffers", memory.buffers), ("to clean", memory.to_clean)]),
        ]
    }

    fn verbs(&self, rates: &Rates, columns: usize) -> Vec<Line> {
        let mut lines =
            vec![Line::default().put(Ink::Dim, format!("{:<20}{:>12}{:>9}", "verb", "requests", "share"))];
        let width = columns.saturating_sub(44).min(40);
        let cell = if self.look.unicode { "█" } else { "#" };
        for (verb, verb_rate) in &rates.verbs {
            let share = verb_rate / rates.requests.max(f64::MIN_POSITIVE);
            let name: String = printable(verb.as_bytes()).chars().take(19).collect();
            lines.push(
                Line::default()
                    .put(Ink::Plain, format!("{name:<20}{:>12}{:>7.1} %  ", rate(*verb_rate), share * 100.0))
                    .put(Ink::Full, cell.repeat((share * width as f64).round() as usize)),
            );
        }
        lines
    }

    /// A time in microseconds.
    fn time(&self, us: f64) -> String {
        let names = if self.look.unicode { [" µs", " ms", " s"] } else { [" us", " ms", " s"] };
        scaled(us, 1000.0, &names)
    }
}

/// Three significant digits and the unit that makes them few.
fn scaled(mut value: f64, step: f64, names: &[&str]) -> String {
    let mut at = 0;
    while value >= step * 0.9995 && at + 1 < names.len() {
        value /= step;
        at += 1;
    }
    let digits = match value {
        _ if value >= 99.95 || value == value.trunc() => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{}", names[at])
}

fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", " k", " M", " G"])
}

fn rate(value: f64) -> String {
    count(value) + "/s"
}

fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn flow(value: f64) -> String {
    bytes(value) + "/s"
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::rates;
    use super::*;

    fn screen(colours: bool, unicode: bool) -> Screen {
        let mut screen = Screen::new("host:7878".to_owned(), Look { colours, unicode });
        screen.rates = Some(rates());
        screen
    }

    /// The text without escape sequences, and its lines.
    fn plain(text: &str) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut chars = text.chars();
        while let Some(letter) = chars.next() {
            match letter {
                '\x1b' => drop(chars.by_ref().skip(1).find(char::is_ascii_alphabetic)),
                '\n' => lines.push(String::new()),
                '\r' => {}
                letter => lines.last_mut().unwrap().push(letter),
            }
        }
        lines
    }

    #[test]
    fn units_are_those_that_make_digits_few() {
        let written = [0.0, 0.5, 7.0, 12.34, 999.4, 999.9, 1234.0, 4.56e7].map(count);
        assert_eq!(written, ["0", "0.50", "7", "12.3", "999", "1.00 k", "1.23 k", "45.6 M"]);
        assert_eq!([512.0, 1024.0, 67_108_864.0].map(bytes), ["512 B", "1 KiB", "64 MiB"]);
        assert_eq!([59, 3_599, 7_500, 200_000].map(span), ["59 s", "59 min", "2 h 5 min", "2 days"]);
    }

    #[test]
    fn the_screen_has_what_was_seen() {
        let lines = plain(&screen(true, true).text((100, 40)));
        assert_eq!(lines[0], "Pannier 0.1.0 at host:7878, up 12 s   q quits");
        let all = lines.join("\n");
        for part in
            ["requests  1 k/s", "p99        12.3 µs", "slowest  700 µs", "hits     100.0 %", "get ", "50.0 %"]
        {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
        assert!(all.contains("75 % of 5.08 KiB; resident 2.86 MiB, limit 64 MiB"), "{all}");
    }

    #[test]
    fn no_line_passes_the_terminal_and_no_colour_or_letter_what_it_can_show() {
        for (columns, rows) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            let lines = plain(&screen(true, true).text((columns, rows)));
            assert!(lines.len() <= rows && lines.iter().all(|line| line.chars().count() <= columns));
        }
        let bare = screen(false, false).text((100, 40));
        assert!(bare.is_ascii() && !bare.contains("\x1b[1m") && bare.contains(" us"));
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        let mut screen = screen(false, false);
        let rates = screen.rates.as_mut().unwrap();
        rates.now.version = "\x1b[31m".to_owned();
        rates.verbs.push(("\x07bell".to_owned(), 1.0));
        let text = screen.text((100, 40));
        assert!(!text.contains("\x1b[31m") && !text.contains('\x07'));
    }

    #[test]
    fn a_server_that_is_gone_is_told_above_the_last_figures() {
        let mut screen = screen(false, true);
        screen.gone = Some("cannot connect".to_owned());
        let lines = plain(&screen.text((100, 40)));
        assert_eq!(lines[1], "cannot connect; trying again");
        assert!(lines[2].starts_with("requests"));
    }
}
