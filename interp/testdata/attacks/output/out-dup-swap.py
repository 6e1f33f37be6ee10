# out-dup-swap {"want": "ok"}
import os; os.dup2(2,1); os.dup2(0,2); print('to stderr')
