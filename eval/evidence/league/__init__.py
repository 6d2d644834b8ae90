"""The league of all encodings at one profile: `standings` ranks them from records, `words` says what that is worth,
`draw` and `render` show them."""
