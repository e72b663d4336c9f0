// uPlot comes as a script of its own, and is then a global.
declare const uPlot: any;
