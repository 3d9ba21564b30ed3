use super::*;

#[test]
fn functions_of_many_parameters_with_varargs_are_found_wherever_they_stand() {
    let unfit = [
        "local function f(a,b,c,d,...) end",
        "local function f ( a , b , c , d , ... ) end",
        "f = function(a,b,c,d,...) end",
        "function t.x.y:m(a,b,c,...) end",
        "function--[[(]]f--\n(a--x)\n,b,c--[==[ ) ]==],d,...)",
        "x = 'function(' function f(a,b,c,d,...) end",
        "x = [[ ]] function f(a,b,c,d,...) end",
        "x = '\\'' function f(a,b,c,d,...) end",
        "--[ not long\rfunction f(a,b,c,d,...) end",
        "--[=[ long ]] ]=] function f(a,b,c,d,...) end",
    ];
    for text in unfit {
        assert_eq!(check(text.as_bytes()), Err(Unfit::ManyParameters), "{text}");
    }
    let fit = [
        "local function f(a,b,c,...) end",
        "function t:m(a,b,...) end",
        "local function f(a,b,c,d,e,f,g) return ... end",
        "-- function f(a,b,c,d,...) end",
        "--[[ function f(a,b,c,d,...) end ]]",
        "x = 'function f(a,b,c,d,...)'",
        "x = \"\\\" function f(a,b,c,d,...)\"",
        "x = [==[ ]] function f(a,b,c,d,...) ]==]",
        "functional(a,b,c,d,...)",
        "f(a,b,c,d,...)",
        "function",
        "function f(",
        "x = 'unfinished",
        "x = [[unfinished",
        "",
    ];
    for text in fit {
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn bytecode_is_unfit() {
    assert_eq!(check(b"\x1bLua"), Err(Unfit::Bytecode));
}

#[test]
fn a_shebang_declares_flags_and_keeps_line_numbers() {
    let plain = Flags { declared: true, ..Flags::default() };
    assert_eq!(shebang(b"return 1"), Ok((Flags::default(), &b"return 1"[..])));
    assert_eq!(shebang(b"#!lua\nreturn 1"), Ok((plain, &b"\nreturn 1"[..])));
    assert_eq!(shebang(b"#!lua flags=\nx"), Ok((plain, &b"\nx"[..])));
    let both = Flags { declared: true, no_writes: true, allow_oom: true };
    assert_eq!(shebang(b"#!lua  flags=no-writes,allow-oom,allow-stale\nx").unwrap().0, both);
    assert_eq!(shebang(b"#!lua"), Err(BadShebang::Unfinished));
    assert_eq!(shebang(b"#!python\nx"), Err(BadShebang::Engine(b"#!python")));
    assert_eq!(shebang(b"#!lua foo\nx"), Err(BadShebang::Option(b"foo")));
    assert_eq!(shebang(b"#!lua flags=foo\nx"), Err(BadShebang::Flag(b"foo")));
}
