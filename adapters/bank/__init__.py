"""The outside world of money: what banks and payment services say, and what they are asked to do.

`statements` reads a bank's files, `stripe` and `wise` their notifications; what is learned from any of them is one of
`observations`. `ports` says what a bank and a chain can be asked, `paper` is both of them without the money.
"""
