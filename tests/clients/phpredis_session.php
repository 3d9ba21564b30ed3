<?php
// phpredis's session handler with locking: two requests of one session at a time: php phpredis_session.php PORT
// The file is what two of PHP's own web servers serve, with one store for their sessions.

if (PHP_SAPI === 'cli-server') {
    session_start();
    if ($_SERVER['REQUEST_URI'] === '/leave') {
        session_destroy();
        exit('left');
    }
    // Without the lock the second request reads the number before the first has written it.
    $visits = $_SESSION['visits'] ?? 0;
    usleep(300_000);
    $_SESSION['visits'] = $visits + 1;
    session_write_close();
    exit((string) $_SESSION['visits']);
}

function check(bool $holds, string $what): void
{
    if (!$holds) {
        throw new RuntimeException($what);
    }
}

function request(int $port, string $page, string $cookie): mixed
{
    $socket = stream_socket_client("tcp://127.0.0.1:$port", $errno, $error, 10);
    stream_set_timeout($socket, 20);
    fwrite($socket, "GET /$page HTTP/1.0\r\nCookie: PHPSESSID=$cookie\r\n\r\n");
    return $socket;
}

function answer(mixed $socket): string
{
    [$head, $body] = explode("\r\n\r\n", stream_get_contents($socket), 2);
    check(str_contains($head, '200 OK'), $head . $body);
    return $body;
}

$port = (int) $argv[1];
$redis = new Redis();
$redis->connect('127.0.0.1', $port);
$redis->flushDB();

// Starts a web server of this file on a free port, and returns the port when it listens.
function startWebServer(int $port): int
{
    $probe = stream_socket_server('tcp://127.0.0.1:0');
    $webPort = (int) explode(':', stream_socket_get_name($probe, false))[1];
    fclose($probe);
    $options = [
        'session.save_handler' => 'redis', 'session.save_path' => "tcp://127.0.0.1:$port", 'session.use_strict_mode' => '0',
        'redis.session.locking_enabled' => '1', 'redis.session.lock_expire' => '30',
        'redis.session.lock_retries' => '500', 'redis.session.lock_wait_time' => '10000',
        'display_errors' => '1', 'html_errors' => '0',
    ];
    $command = [PHP_BINARY];
    foreach ($options as $name => $value) {
        array_push($command, '-d', "$name=$value");
    }
    array_push($command, '-S', "127.0.0.1:$webPort", __FILE__);
    $web = proc_open($command, [['file', '/dev/null', 'r'], STDERR, STDERR], $pipes);
    register_shutdown_function(function () use ($web) {
        proc_terminate($web);
        proc_close($web);
    });
    for ($tries = 0; !($socket = @stream_socket_client("tcp://127.0.0.1:$webPort")); $tries++) {
        check($tries < 100, 'the web server did not come up');
        usleep(100_000);
    }
    fclose($socket);
    return $webPort;
}

[$one, $two] = [startWebServer($port), startWebServer($port)];
$id = bin2hex(random_bytes(16));
$began = microtime(true);
$pair = [request($one, '', $id), request($two, '', $id)];
$answers = array_map('answer', $pair);
sort($answers);
check($answers === ['1', '2'], 'two requests at a time: ' . implode(' ', $answers));
check(microtime(true) - $began > 0.55, 'they did not wait for each other');
check(answer(request($one, '', $id)) === '3', 'a third request');
check(answer(request($one, '', bin2hex(random_bytes(16)))) === '1', 'another session');
check($redis->exists("PHPREDIS_SESSION:{$id}_LOCK") === 0, 'the lock was not released');
check($redis->ttl("PHPREDIS_SESSION:$id") > 1000, 'the session has a time to live');
check(answer(request($one, 'leave', $id)) === 'left' && $redis->exists("PHPREDIS_SESSION:$id") === 0, 'the end of a session');

// A lock that is another's is waited for, and taken when its time is over.
$redis->set("PHPREDIS_SESSION:{$id}_LOCK", 'another', ['px' => 500]);
$began = microtime(true);
check(answer(request($one, '', $id)) === '1' && microtime(true) - $began > 0.45, 'a lock that expires');
$redis->flushDB();
