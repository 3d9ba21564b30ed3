<?php
// Symfony's cache over phpredis, with tags, which are sets: php symfony_cache.php PORT
require '/usr/share/php/Symfony/Component/Cache/autoload.php';

use Symfony\Component\Cache\Adapter\RedisAdapter;
use Symfony\Component\Cache\Adapter\RedisTagAwareAdapter;
use Symfony\Contracts\Cache\ItemInterface;

function check(bool $holds, string $what): void
{
    if (!$holds) {
        throw new RuntimeException($what);
    }
}

$redis = RedisAdapter::createConnection("redis://127.0.0.1:$argv[1]");
$redis->flushDB();

$cache = new RedisAdapter($redis, 'app', 60);
$made = 0;
$make = function (ItemInterface $item) use (&$made) {
    $item->expiresAfter(30);
    return ['made' => ++$made];
};
check($cache->get('k', $make) === ['made' => 1] && $cache->get('k', $make) === ['made' => 1], 'get makes an item once');
check($cache->hasItem('k') && !$cache->hasItem('none'), 'hasItem');
$cache->save($cache->getItem('short')->set('x')->expiresAfter(1));
$cache->saveDeferred($cache->getItem('deferred')->set(1));
check($cache->commit() && $cache->getItem('deferred')->get() === 1, 'saveDeferred');
$values = array_map(fn ($item) => $item->isHit(), iterator_to_array($cache->getItems(['k', 'none'])));
check($values === ['k' => true, 'none' => false], 'getItems');
usleep(2_100_000);
check(!$cache->hasItem('short'), 'an item expires');
check($cache->deleteItem('k') && !$cache->hasItem('k'), 'deleteItem');
$redis->set('not the cache', '1');
check($cache->clear() && !$cache->hasItem('deferred') && $redis->exists('not the cache') === 1, 'clear by a pattern');

$tagged = new RedisTagAwareAdapter($redis, 'tagged');
for ($i = 0; $i < 300; $i++) {
    $tagged->get("item$i", function (ItemInterface $item) use ($i) {
        $item->tag($i % 2 ? ['all', 'odd'] : ['all']);
        return $i;
    });
}
check($tagged->getItem('item7')->getMetadata()['tags'] === ['all' => 'all', 'odd' => 'odd'], 'tags of an item');
check($tagged->deleteItem('item1') && !$tagged->hasItem('item1'), 'delete of a tagged item');
check($tagged->invalidateTags(['odd']), 'invalidateTags');
for ($i = 0; $i < 300; $i++) {
    check($tagged->hasItem("item$i") === ($i % 2 === 0), "item$i");
}
check($tagged->invalidateTags(['all', 'none']) && !$tagged->hasItem('item0'), 'all others');
$redis->flushDB();
