"""What log files hold: trainers' dialects, one reader, the selection of rows."""
