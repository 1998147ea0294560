"""The key space of etcd v2 (directories, TTLs, compare and swap, long polls) over the store."""
