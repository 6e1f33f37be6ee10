# out-lone-escapes {"want": "ok"}
import os; os.write(1,b'\x1b'*60000+b'\x1b[')
