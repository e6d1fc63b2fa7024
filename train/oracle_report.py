"""stub"""
def write_oracle_report(folder, env, course):
    pass
