"""The league of all encodings at one profile: `standings` ranks them from records, `draw` and `render` show them."""
