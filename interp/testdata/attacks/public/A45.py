# A45 {"want": "ok"}
import os; os.write(1,bytes(range(256))*4+b"\xff\xfe\x00\xc3\x28\xed\xa0\x80")
