# out-close-12 {"want": "ok|exc:OSError"}
import os; os.close(1); os.close(2); print('x')
