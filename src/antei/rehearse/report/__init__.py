"""What a rehearsal found, told: `terminal` while it plays, `html`, `json` and `junit` afterwards."""
