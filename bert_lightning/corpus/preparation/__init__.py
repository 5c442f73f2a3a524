"""How a text is prepared: in items, by workers, into shards that a merge makes one store of."""
