"""First boot: a cloud-config becomes a hostname, users, keys, files, units and settings of this machine.

    bytes ─document→ lines and values ─keys→ known keys only ─config→ CloudConfig
          ─addresses→ no variables left ─plan(observed machine)→ steps ─carry_out→ outcomes ─report→ JSON

Everything up to `plan` is a function from values to values and runs on a workstation too.
"""
