"""Whether a boot is good: checks, what they are worth, and what follows from them.

`check` and `decide` are values and pure; each kind of check has a file of its own; `record` is what stays
on the disk. What is done about it (bless, reboot, roll back) stands in `entry.health`.
"""
