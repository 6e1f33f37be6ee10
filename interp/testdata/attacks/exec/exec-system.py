# exec-system {"want": "exc:PermissionError"}
import os; print('r',os.system('echo BAD'))
