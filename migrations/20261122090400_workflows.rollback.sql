drop table pliers.workflow_run_steps;
drop table pliers.workflow_runs;
drop table pliers.workflows;
