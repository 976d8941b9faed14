"""What keeps a client's traffic from being seen: looked at piece by piece, each with what mends it.

`proxy`, `authority`, `handshake`, `storage`, `clock` and `traffic` each look at one thing and give
`finding.Finding`s; nothing here changes anything.
"""
