"""What the checks share: judges, programs, relays, made-up hosts."""
