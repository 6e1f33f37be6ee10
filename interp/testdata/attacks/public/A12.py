# A12 {"want": "ok", "has": "8 {", "not": "GOPATH"}
import os; print(len(os.environ), dict(os.environ))
