# exc-group-chain {"want": "exception"}
e=None
for i in range(5000):
    n=ValueError(i); n.__cause__=e; e=n
raise e
