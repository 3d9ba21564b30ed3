//! Scripts that mean harm: the flaws that Lua 5.1 and its libraries had in public, and what a sandbox must not give.

use super::{bench, error, eval};

#[test]
fn the_sandbox_has_no_way_out() {
    let mut bench = bench();
    for name in [
        "io", "os", "debug", "package", "require", "module", "dofile", "loadfile", "print", "newproxy",
        "getfenv", "setfenv",
    ] {
        let text =
            format!("-ERR user_script:1: Script attempted to access nonexistent global variable '{name}'");
        assert_eq!(error(&eval(&mut bench, &format!("return {name}"))), text);
    }
    assert_eq!(eval(&mut bench, "return string.dump"), "$-1\r\n");
    let bytecode = r"return {loadstring('\27Lua')}";
    assert_eq!(eval(&mut bench, bytecode), "*0\r\n", "nil comes first");
    let bytecode = r"local f, e = load(function() if not x then x = 1 end end) return 1";
    assert!(eval(&mut bench, bytecode).starts_with('-'));
    assert!(eval(&mut bench, "\x1bLua").starts_with("-ERR Error compiling script"));
}

#[test]
fn tables_of_the_sandbox_cannot_be_changed() {
    let mut bench = bench();
    let readonly = "Attempt to modify a readonly table";
    for script in [
        "x = 1",
        "KEYS = 1",
        "_G.x = 1",
        "string.x = 1",
        "string.format = nil",
        "redis.call = 1",
        "cjson.encode = nil",
        "rawset(_G, 'x', 1)",
        "rawset(string, 'x', 1)",
        "table.insert(string, 1)",
        "table.insert(_G, 1, 1)",
        "table.remove(table)",
        "table.sort(redis)",
        "getmetatable('').__index.upper = 1",
        "getmetatable('').x = 1",
    ] {
        let reply = eval(&mut bench, script);
        assert!(error(&reply).ends_with(readonly), "{script}: {reply}");
    }
    for script in ["setmetatable(_G, nil)", "setmetatable(string, {})", "setmetatable(redis, {})"] {
        assert!(eval(&mut bench, script).starts_with('-'), "{script}");
    }
    // What one shows of itself is a copy.
    for script in [
        "local _, t = pairs(string) t.x = 1",
        "for k in pairs(_G) do end local _, t = pairs(redis) rawset(t, 'call', 1)",
    ] {
        eval(&mut bench, script);
    }
    assert_eq!(
        eval(&mut bench, "return {rawget(string, 'x') or 0, #string, redis.call('PING')}"),
        "*3\r\n:0\r\n:0\r\n+PONG\r\n"
    );
    assert_eq!(eval(&mut bench, "local n = 0 for _ in pairs(bit) do n = n + 1 end return n"), ":12\r\n");
}

/// CVE-2025-49844: the parser held its chunk's name without an anchor, and a collection freed it. Names that nothing else
/// holds, garbage by the megabyte, and a parse long enough for many collections.
#[test]
fn a_collection_cannot_free_the_name_of_what_is_parsed() {
    let mut bench = bench();
    let script = r#"
        for round = 1, 40 do
            local body = {}
            for i = 1, 400 do body[i] = 'local s' .. i % 150 .. ' = "' .. round .. '-' .. i .. '"' end
            local text = 'do ' .. table.concat(body, ' end do ') .. ' end error("here")'
            local f = assert(loadstring(text, '=name' .. round .. ('x'):rep(20)))
            local ok, e = pcall(f)
            if not e:find('^name' .. round .. 'x+:1: here') then return e end
        end
        return 'whole'"#;
    assert_eq!(eval(&mut bench, script), "$5\r\nwhole\r\n");
}

/// While a text is parsed the collector stands still, whatever the parser allocates.
#[test]
fn the_collector_stands_still_while_a_text_is_parsed() {
    let mut bench = bench();
    let script = r#"
        local body = {}
        for i = 1, 1500 do body[i] = '"' .. i .. ('y'):rep(10) .. '"' end
        local text = 'return {' .. table.concat(body, ',') .. '}'
        body = nil
        local garbage = ('x'):rep(20000) .. 'a'
        garbage = nil
        local before = collectgarbage('count')
        local f = loadstring(text)
        return collectgarbage('count') > before and 1 or 0"#;
    assert_eq!(eval(&mut bench, script), ":1\r\n");
}

/// CVE-2025-46817: `unpack` added without asking whether the sum overflows.
#[test]
fn unpack_does_not_overflow() {
    let mut bench = bench();
    for (first, last) in [
        ("-2147483648", "2147483647"),
        ("0", "2147483647"),
        ("-1e300", "1e300"),
        ("1", "8000"),
        ("1", "1/0"),
        ("-1/0", "1"),
    ] {
        let reply = eval(&mut bench, &format!("return {{unpack({{}}, {first}, {last})}}"));
        assert_eq!(error(&reply), "-ERR user_script:1: too many results to unpack", "{first} {last}");
    }
    // As many as Lua's stack has room for, and not one more: its own error would name a line of the sandbox.
    for (arguments, most) in [("t", 7999), ("t, 1", 7998), ("t, 1, #t", 7997)] {
        let unpack = |count| {
            format!(
                "local t = {{}} for i = 1, {count} do t[i] = i end return select('#', unpack({arguments}))"
            )
        };
        assert_eq!(eval(&mut bench, &unpack(most)), format!(":{most}\r\n"), "{arguments}");
        let refused = eval(&mut bench, &unpack(most + 1));
        assert_eq!(error(&refused), "-ERR user_script:1: too many results to unpack", "{arguments}");
    }
    assert_eq!(eval(&mut bench, "return select('#', unpack({}, 2, 1))"), ":0\r\n");
    assert_eq!(eval(&mut bench, "return {unpack({1, 2, 3}, '2')}"), "*2\r\n:2\r\n:3\r\n");
    assert!(eval(&mut bench, "return unpack({}, 0/0, 5)").starts_with(['-', '$']));
    assert!(eval(&mut bench, "return unpack()").starts_with("-ERR"));
}

/// CVE-2014-5461: parameters beside `...` were moved beyond the stack's end.
#[test]
fn functions_with_varargs_have_few_parameters() {
    let mut bench = bench();
    let names: Vec<String> = (0..200).map(|i| format!("p{i}")).collect();
    let function = format!("local function f({}, ...) return ... end", names.join(","));
    let refused = "-ERR Error compiling script (new function): a function with '...' has more than 3 named parameters\r\n";
    assert_eq!(eval(&mut bench, &format!("{function} return f()")), refused);
    let loaded = format!("local f, e = loadstring([[{function}]]) return e");
    assert!(eval(&mut bench, &loaded).contains("more than 3 named parameters"));
    // As many as are allowed, at every height of the stack.
    let script = "
        local t = setmetatable({}, {__add = function(a, b) return 1 end})
        local function f(a, b, c, ...) return t + t end
        local function g(n, ...) if n == 0 then return f() end return (g(n - 1, 1, ...)) end
        for n = 1, 100 do g(n) end
        return g(100)";
    assert_eq!(eval(&mut bench, script), ":1\r\n");
}

/// CVE-2021-43519: coroutines in coroutines took the C stack uncounted. On a thread with the stack that Rust gives one.
#[test]
fn nested_calls_end_before_the_stack_does() {
    let run = || {
        let mut bench = bench();
        for script in [
            "local function f() return coroutine.wrap(f)() end return f()",
            "local function f() local ok, e = coroutine.resume(coroutine.create(f)) return e end return f()",
            "local function f() local ok, e = pcall(f) return e end return f()",
            "local function f(s) return (string.gsub(s, '.', f)) end return f('x')",
            "local t = {} setmetatable(t, {__index = function(t, k) return t[k .. 'x'] end}) return t.x",
            "local function p(n) if n == 0 then return coroutine.wrap(function() return p(150) end)() end return select(2, pcall(p, n - 1)) end return p(150)",
            "local function f() return table.sort({1, 2, 3}, f) end return f()",
            "return loadstring(('('):rep(10000) .. '1' .. (')'):rep(10000))",
            "return loadstring(('{'):rep(10000) .. ('}'):rep(10000))",
            "local s = 'x' for i = 1, 10 do s = s .. s end return loadstring('return ' .. ('-'):rep(1, ' ') .. s)",
        ] {
            let reply = eval(&mut bench, script);
            assert!(reply.ends_with("\r\n"), "{script}: {reply}");
            assert_eq!(eval(&mut bench, "return 1"), ":1\r\n", "after {script}");
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn c_functions_that_count_for_ever_are_kept_from_it() {
    let mut bench = bench();
    for script in [
        "table.insert({}, -2147483648, 1)",
        "table.insert({}, -1e300, 1)",
        "return string.rep('', 1e9)",
        "return ('a'):rep(5000):find(('a*'):rep(25) .. 'b')",
        "return ('a'):rep(100000):find(('a'):rep(50000) .. 'b', 1, true)",
        "local t = {} for i = 1, 20000 do t[i] = 20000 - i end table.sort(t) return #t",
        "return table.concat({}, ',', 1, 2147483647)",
        "for i = 1, 1e9 do local x = ('x'):rep(100000) end",
        "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end",
        "local t = {} while true do t = {t} end",
        "local s = 'x' while true do s = s .. s end",
        "return redis.call('MSET', unpack((function() local t = {} for i = 1, 7000 do t[i] = ('k'):rep(60000) end return t end)()))",
        "local t = {} for i = 1, 8000 do t[i] = string.gmatch('a', 'b' .. i) end return #t",
        "local t = {} for i = 1, 20000 do t[i] = redis.status_reply('x') end return #t",
    ] {
        let reply = eval(&mut bench, script);
        assert!(reply.ends_with("\r\n"), "{script}: {reply}");
        assert_eq!(eval(&mut bench, "return 1"), ":1\r\n", "after {script}");
        bench.run("FLUSHALL");
    }
}

#[test]
fn collected_garbage_is_not_the_scripts_to_steer() {
    let mut bench = bench();
    let script =
        "collectgarbage('stop') collectgarbage('setpause', 1e9) collectgarbage('setstepmul', 0) return 1";
    assert_eq!(eval(&mut bench, script), ":1\r\n");
    let script = "local n = 0 for i = 1, 50000 do n = n + #(('x'):rep(50) .. i) end return n > 0 and 1";
    assert_eq!(eval(&mut bench, script), ":1\r\n");
}
