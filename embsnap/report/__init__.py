"""Reports for people, made from results. No reading of snapshots here."""
