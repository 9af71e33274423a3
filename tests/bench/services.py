import sys
class Services: pass
def say(x): print(x,file=sys.stderr)
