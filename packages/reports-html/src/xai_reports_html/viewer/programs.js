"use strict";
/* Programs of the graphics card, made when something is drawn with them for the first time. NiiVue makes all that it may
   ever need before it draws anything, and waits for each: half of the time until the first picture. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  const UNIFORM = /^uniform(\d|Matrix)/, DRAW = /^draw(Arrays|Elements|RangeElements)/;

  /* Changes a WebGL context so that what concerns a program is kept until it draws. An error in a program comes then. */
  function lazily(gl) {
    const calls = Object.getOwnPropertyNames(WebGL2RenderingContext.prototype), own = {};
    const shaders = new Map(); // of each program
    const waiting = new Map(); // values set for the programs that are not made yet
    const places = new Map(); // of uniforms, by program and name
    let current = null; // the program in use, if it is not made yet
    for (const name of ["attachShader", "compileShader", "linkProgram", "useProgram", "deleteProgram", "getProgramParameter", "getUniformLocation"]) own[name] = gl[name].bind(gl);

    function make(program) {
      const values = waiting.get(program);
      waiting.delete(program);
      current = null;
      for (const shader of shaders.get(program)) own.compileShader(shader);
      own.linkProgram(program);
      if (!own.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program));
      own.useProgram(program);
      for (const [name, place, rest] of values) own[name](located(place), ...rest);
    }

    function located(place) {
      if (place.found === undefined) place.found = own.getUniformLocation(place.program, place.name);
      return place.found;
    }

    gl.compileShader = function () {};
    gl.attachShader = function (program, shader) {
      own.attachShader(program, shader);
      shaders.set(program, (shaders.get(program) || []).concat(shader));
    };
    gl.linkProgram = function (program) { waiting.set(program, []); places.set(program, new Map()); };
    gl.getProgramParameter = function (program, what) { return what === gl.LINK_STATUS && waiting.has(program) ? true : own.getProgramParameter(program, what); };
    gl.useProgram = function (program) {
      current = waiting.has(program) ? program : null;
      if (!current) own.useProgram(program);
    };
    gl.deleteProgram = function (program) {
      for (const known of [shaders, waiting, places]) known.delete(program);
      if (current === program) current = null;
      own.deleteProgram(program);
    };
    gl.getUniformLocation = function (program, name) {
      const known = places.get(program);
      if (!known.has(name)) known.set(name, { program: program, name: name });
      return known.get(name);
    };
    for (const name of calls.filter(function (call) { return UNIFORM.test(call); })) {
      own[name] = gl[name].bind(gl);
      gl[name] = function (place, ...rest) {
        if (!place) return; // as WebGL does
        const values = waiting.get(place.program);
        if (values) values.push([name, place, rest.map(function (value) { return value.slice ? value.slice() : value; })]);
        else own[name](located(place), ...rest);
      };
    }
    for (const name of calls.filter(function (call) { return DRAW.test(call); })) {
      own[name] = gl[name].bind(gl);
      gl[name] = function (...given) {
        if (current) make(current);
        own[name](...given);
      };
    }
    return gl;
  }

  /* Has the first one who asks a canvas for its context get such a one. */
  function prepare(canvas) {
    canvas.getContext = function (kind, options) {
      delete canvas.getContext;
      const gl = canvas.getContext(kind, options);
      return gl && lazily(gl);
    };
  }

  /* Without a graphics card the 3D rendering of a 1 mm scan takes seconds a frame. */
  function slow(gl) {
    const info = gl.getExtension("WEBGL_debug_renderer_info");
    const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
  }

  XAI.programs = { prepare: prepare, slow: slow };
})();
