"""What bench/update_bytes.py is made of: two real images, a server that counts, ways between them."""
