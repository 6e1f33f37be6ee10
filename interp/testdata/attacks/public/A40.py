# A40 {"want": "exc:EOFError alive"}
x=input("? ")
