"""The league of all encodings at one profile: `standings` ranks them from records, `tables` and `figure` show it."""
