# A56 {"want": "exited:3 alive;ok alive", "has": "still here"}
import sys; sys.exit(3)
# next cell
print("still here")
