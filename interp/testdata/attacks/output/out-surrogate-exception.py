# out-surrogate-exception {"want": "exc:ValueError alive"}
raise ValueError('\ud800'*1000)
