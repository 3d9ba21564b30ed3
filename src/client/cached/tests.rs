use super::*;

fn cache(bytes_max: usize) -> Cache {
    Cache { places: HashMap::new(), slots: Vec::new(), free: Vec::new(), hand: 0, bytes: 0, bytes_max }
}

fn value(text: &str) -> Option<Arc<[u8]>> {
    Some(text.as_bytes().into())
}

#[test]
fn a_cache_stays_within_its_bytes_and_keeps_what_is_used() {
    let mut cache = cache(10 * (ENTRY_BYTES + 2));
    for round in 0..100u8 {
        cache.insert(&[round], value("v"));
        // Read all the time, so it stays.
        assert!(cache.get(&[0]).is_some(), "round {round}");
        assert!(cache.bytes <= cache.bytes_max && cache.places.len() <= 10);
        assert!(cache.slots.len() <= 10, "places are used again");
    }
    assert_eq!(cache.places.len(), 10);
    assert!(cache.get(&[50]).is_none());
}

#[test]
fn entries_are_replaced_dropped_and_counted() {
    let mut cache = cache(4_000);
    cache.insert(b"a", value("1"));
    cache.insert(b"a", value("22"));
    cache.insert(b"none", None);
    assert_eq!(cache.get(b"a"), Some(value("22")));
    assert_eq!(cache.get(b"none"), Some(None));
    assert_eq!(cache.bytes, 2 * ENTRY_BYTES + 1 + 2 + 4);
    // Larger than one entry may be: an older value must not stay either.
    cache.insert(b"a", Some(vec![0; 1_000].into()));
    assert_eq!(cache.get(b"a"), None);
    cache.remove(b"none");
    assert_eq!((cache.bytes, cache.places.len(), cache.free.len()), (0, 0, 2));
    cache.insert(b"b", value("3"));
    cache.clear();
    assert_eq!((cache.get(b"b"), cache.bytes), (None, 0));
}
