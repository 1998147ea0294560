"""The cluster as a whole: who belongs to it, and the care of its servers' etcd."""
