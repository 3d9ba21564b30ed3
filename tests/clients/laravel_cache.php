<?php
// Laravel's cache, lock, tags and rate limiter over phpredis: php laravel_cache.php PORT
require '/usr/share/php/Illuminate/Cache/autoload.php';
require '/usr/share/php/Illuminate/Container/autoload.php';
require '/usr/share/php/Illuminate/Redis/autoload.php';

use Illuminate\Cache\RateLimiter;
use Illuminate\Cache\RedisStore;
use Illuminate\Cache\Repository;
use Illuminate\Contracts\Cache\LockTimeoutException;
use Illuminate\Redis\RedisManager;

function check(bool $holds, string $what): void
{
    if (!$holds) {
        throw new RuntimeException($what);
    }
}

$manager = new RedisManager(new Illuminate\Container\Container(), 'phpredis', [
    'default' => ['host' => '127.0.0.1', 'port' => (int) $argv[1], 'database' => 2, 'timeout' => 5],
]);
$redis = $manager->connection();
$redis->flushdb();
$store = new RedisStore($manager, 'app');
$cache = new Repository($store);

check($cache->put('k', ['a' => 1], 60) && $cache->get('k') === ['a' => 1] && $cache->get('none', 'd') === 'd', 'put and get');
// add is a script.
check($cache->add('once', 1, 60) && !$cache->add('once', 2, 60) && $cache->get('once') == 1, 'add');
check($redis->ttl('app:once') > 50, 'add sets a time to live');
check($cache->increment('n', 5) === 5 && $cache->decrement('n', 2) === 3, 'increment');
check($cache->remember('made', 60, fn () => 'x') === 'x' && $cache->has('made') && $cache->pull('made') === 'x', 'remember');
check($cache->putMany(['a' => 1, 'b' => 2], 60) && $cache->many(['a', 'none', 'b']) == ['a' => 1, 'none' => null, 'b' => 2], 'many');
check($cache->forget('a') && !$cache->has('a') && $cache->forever('f', 1), 'forget');

$lock = $cache->lock('job', 30);
$other = $cache->lock('job', 30);
check($lock->get() && !$other->get(), 'one owner');
// A wrong owner's release changes nothing, nor may it fail silently the other way: the right one's frees it.
check(!$other->release() && !$cache->lock('job', 30)->get(), 'not by another');
check($lock->release() && $other->get() && $other->release(), 'release');
check($cache->lock('job', 30)->get(fn () => 'done') === 'done', 'by a closure');
check($lock->get(), 'again');
try {
    $other->block(1);
    check(false, 'block in vain');
} catch (LockTimeoutException) {
}
$lock->release();
check($cache->lock('short', 1)->get(), 'a short lock');
usleep(1_200_000);
check($cache->lock('short', 1)->get(), 'a lock that expired');

$limiter = new RateLimiter($cache);
$attempts = [];
for ($i = 0; $i < 5; $i++) {
    $attempts[] = $limiter->attempt('ada', 3, fn () => true, 2);
}
check($attempts === [true, true, true, false, false], 'three attempts: ' . json_encode($attempts));
check($limiter->tooManyAttempts('ada', 3) && $limiter->availableIn('ada') <= 2 && $limiter->remaining('bob', 3) === 3, 'its state');
usleep(2_200_000);
check($limiter->attempt('ada', 3, fn () => true, 2) === true, 'after the window');
$limiter->clear('ada');
check($limiter->attempts('ada') === 0, 'clear');

// The limiter of jobs: a hash, by a script.
$through = 0;
for ($i = 0; $i < 4; $i++) {
    $redis->throttle('jobs')->allow(2)->every(60)->block(0)->then(function () use (&$through) { $through++; }, fn () => null);
}
check($through === 2, "throttle let $through through");
// As many as places: a key for each, by a script.
$inner = null;
$redis->funnel('places')->limit(1)->releaseAfter(30)->block(0)->then(function () use ($redis, &$inner) {
    $redis->funnel('places')->limit(1)->block(0)->then(function () use (&$inner) { $inner = 'in'; }, function () use (&$inner) { $inner = 'full'; });
}, fn () => null);
check($inner === 'full', 'funnel');
$redis->flushdb();
