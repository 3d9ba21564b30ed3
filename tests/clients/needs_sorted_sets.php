<?php
// What Symfony Lock, which needs sorted sets, does here: nobody gets the lock: php needs_sorted_sets.php PORT
// When this fails, docs/frameworks.md has to change.
require '/usr/share/php/Symfony/Component/Lock/autoload.php';

use Symfony\Component\Lock\Exception\LockAcquiringException;
use Symfony\Component\Lock\LockFactory;
use Symfony\Component\Lock\Store\RedisStore;

$redis = new Redis();
$redis->connect('127.0.0.1', (int) $argv[1]);
$redis->flushDB();
$lock = (new LockFactory(new RedisStore($redis)))->createLock('job', 30);
try {
    $lock->acquire();
    throw new RuntimeException('the lock was acquired');
} catch (LockAcquiringException $error) {
    if (!str_contains($error->getPrevious()->getMessage(), 'Unknown Redis command called from script')) {
        throw $error;
    }
}
// Symfony has asked whether scripts know the time, with a key that lives for a millisecond.
for ($turn = 0; $turn < 100 && $redis->dbSize() !== 0; $turn++) {
    usleep(10000);
}
if ($redis->dbSize() !== 0) {
    throw new RuntimeException('something was left');
}
