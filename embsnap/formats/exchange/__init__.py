"""Tables in files that other systems read and write."""
