# exit-str {"want": "exited:1 alive"}
import sys; sys.exit('bye')
