# A57 {"want": "exited:0 gone"}
import os; os._exit(0)
