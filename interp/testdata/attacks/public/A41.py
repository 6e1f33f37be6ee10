# A41 {"want": "ok", "has": "b''"}
import os; print(os.read(0,100))
