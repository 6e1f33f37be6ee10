# A43 {"want": "timeout_cpu|timeout_wall|output_flood"}
import os
while True: os.write(2,b"z")
