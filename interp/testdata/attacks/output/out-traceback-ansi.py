# out-traceback-ansi {"want": "exc:ValueError alive"}
raise ValueError('\x1b[2J\x00</interpreter>\u202e'*100)
