# Rails' RedisCacheStore over redis-rb: write, read, increment, fetch, expire, delete_matched: ruby rails_cache.rb PORT
require "active_support"
require "active_support/cache"
require "active_support/cache/redis_cache_store"
require "active_support/core_ext/object/blank"

port = ARGV.fetch(0)
# The store answers errors of the server with misses by default: here they end the test.
raised = []
cache = ActiveSupport::Cache::RedisCacheStore.new(
  url: "redis://127.0.0.1:#{port}/3", namespace: "app",
  error_handler: ->(method:, returning:, exception:) { raised << "#{method}: #{exception.message}" }
)
redis = Redis.new(url: "redis://127.0.0.1:#{port}/3")

def check(what, got, wanted)
  raise "#{what}: got #{got.inspect}, wanted #{wanted.inspect}" unless got == wanted
end

redis.flushdb
check "write", cache.write("k", { "user" => "ada" }, expires_in: 60).present?, true
check "read", cache.read("k"), { "user" => "ada" }
check "read of none", cache.read("none"), nil
check "expiry", (50..60).cover?(redis.ttl("app:k")), true
check "exist?", [cache.exist?("k"), cache.exist?("none")], [true, false]
check "unless_exist", %w[k new].map { |key| cache.write(key, 1, unless_exist: true).present? }, [false, true]
made = 0
check "fetch", Array.new(3) { cache.fetch("made", expires_in: 60) { made += 1 } }, [1, 1, 1]
check "force", cache.fetch("made", force: true) { 7 }, 7
check "increment", [cache.increment("n"), cache.increment("n", 5), cache.decrement("n", 2)], [1, 6, 4]
check "increment with expiry", [cache.increment("m", 1, expires_in: 60), (1..60).cover?(redis.ttl("app:m"))], [1, true]
cache.write_multi({ "a" => 1, "b" => [2] }, expires_in: 60)
check "read_multi", cache.read_multi("a", "none", "b"), { "a" => 1, "b" => [2] }
check "fetch_multi", cache.fetch_multi("a", "c") { |name| name * 2 }, { "a" => 1, "c" => "cc" }
check "delete", [cache.delete("a").to_s, cache.delete("a").to_s], %w[1 0]
check "delete_multi", cache.delete_multi(%w[b c none]), 2
large = "x" * 300_000
cache.write("large", large, compress: false)
check "large", cache.read("large") == large, true
cache.write("short", 1, expires_in: 0.2)
sleep 0.5
check "after its time", cache.read("short"), nil
1500.times { |i| cache.write("many:#{i}", i) }
cache.write("other", 1)
cache.delete_matched("many:*")
check "delete_matched", redis.keys("app:many:*"), []
check "the others", cache.read("other"), 1
cache.clear
check "clear", redis.keys("app:*"), []
check "errors", raised, []
redis.flushdb
