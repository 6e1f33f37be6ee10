# out-64K {"want": "ok"}
print('a'*65535)
