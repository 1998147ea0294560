"""Who is a machine of this cluster: authorities, certificates, their files and renewal; no store."""
