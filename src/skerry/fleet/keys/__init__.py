"""The keyspace that units and people write to, with the semantics of etcd v2."""
