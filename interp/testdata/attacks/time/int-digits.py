# int-digits {"want": "exc:ValueError|ok"}
print(len(str(10**5000)))
