"""`skerry`: one file per noun."""
