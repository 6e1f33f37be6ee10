# abort {"want": "crashed gone"}
import os; os.abort()
